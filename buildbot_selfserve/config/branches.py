"""What master.cfg says of a branch."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import cloudpickle

from buildbot_selfserve.config.checker import Checker
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import is_pattern
from buildbot_selfserve.params.texts import is_plain

_ANY = object()
#: What self-serve has of its own below a revision, where sets have their paths.
OWN_PATHS = ("builds", "failed", "health", "is_done", "missing")


class SelfServeBranch:
    """One branch that self-serve shows, or many, and which sourcestamps belong to it.

    :param name: the name in URLs, or a shell pattern such as ``release/*``. A pattern stands for
        each branch that the master knows, whose name fits and that no other entry names; of
        several patterns that fit, the first one counts
    :param branch: the branch in sourcestamps: a text, ``None``, or a list of those; default *name*.
        ``None`` and ``''`` both mean the default branch, whichever of them a sourcestamp has
    :param codebase: only sourcestamps of this codebase, or of one in a list, where one branch name
        lives in several; *project* and *repository* likewise
    :param repo: the repository as ``/branches`` shows it; *repo_type* says of which kind it is
    :param builders: builder names, ``re.compile(...)`` or ``'tag:NAME'``; ``None``: worked out
    :param sets: named groups of builders, ``{'nightly': [...], 'pgo': [...]}``; an entry is a
        builder name, a regular expression, ``'tag:NAME'`` or ``'scheduler:NAME'``
    :param revlink: a link to a revision: a template with ``{revision}`` or a callable that takes it
    """

    _KEYS = (
        "name",
        "branch",
        "codebase",
        "project",
        "repository",
        "repo",
        "repo_type",
        "builders",
        "sets",
        "revlink",
    )

    def __init__(
        self,
        name: str,
        *,
        branch: Any = _ANY,
        codebase: str | Sequence[str] | None = None,
        project: str | Sequence[str] | None = None,
        repository: str | Sequence[str] | None = None,
        repo: str = "",
        repo_type: str = "git",
        builders: list[Any] | None = None,
        sets: dict[str, list[Any]] | None = None,
        revlink: str | Callable[[str], str] | None = None,
        **unknown: Any,
    ) -> None:
        check = Checker(f"SelfServeBranch({name!r})")
        check.unknown(unknown, self._KEYS)
        check.require(
            isinstance(name, str) and 0 < len(name) <= 256 and is_plain(name),
            "name",
            name,
            "a text of 1 to 256 characters",
        )
        check.require(
            branch is _ANY or not (isinstance(name, str) and is_pattern(name)),
            "branch",
            branch,
            "left out: the name is a pattern, which stands for branches of their own names",
        )
        branches = [str(name)] if branch is _ANY else branch
        branches = list(branches) if isinstance(branches, list | tuple) else [branches]
        check.require(
            branches and all(one is None or isinstance(one, str) for one in branches),
            "branch",
            branch,
            "a text, None, or a list of those",
        )
        for key, value in (
            ("codebase", codebase),
            ("project", project),
            ("repository", repository),
        ):
            check.texts(key, value)
        check.text("repo", repo, optional=False)
        check.text("repo_type", repo_type, optional=False)
        self._check_builders(check, "builders", builders, ("tag:",))
        check.require(
            sets is None or (isinstance(sets, dict) and all(map(_is_set_name, sets))),
            "sets",
            sets,
            "a dict of names (small letters, digits, - and _) and lists of builders",
        )
        for key, entries in sets.items() if isinstance(sets, dict) else ():
            self._check_builders(check, f"sets[{key!r}]", entries, ("tag:", "scheduler:"))
            check.require(
                key not in OWN_PATHS,
                "sets",
                key,
                f"another name: {', '.join(OWN_PATHS)} are self-serve's own paths",
            )
        check.require(
            _is_revlink(revlink), "revlink", revlink, "a text with {revision}, or a callable"
        )
        if None in branches or "" in branches:
            # Buildbot stores both for the default branch: a form may leave the field empty
            branches = [*dict.fromkeys([*branches, None, ""])]
        self.name = name
        self.branch = Branch(
            name=name,
            branches=tuple(branches),
            codebases=_texts(codebase),
            projects=_texts(project),
            repositories=_texts(repository),
            repo=repo,
            repo_type=repo_type,
            revlink=_pickled(check, revlink),
            builders=tuple(builders) if isinstance(builders, list | tuple) else None,
            sets=tuple(
                (key, tuple(entries))
                for key, entries in (sets.items() if isinstance(sets, dict) else ())
                if isinstance(entries, list | tuple)
            ),
        )

    @staticmethod
    def _check_builders(
        check: Checker, key: str, entries: object, prefixes: tuple[str, ...]
    ) -> None:
        def fine(entry: object) -> bool:
            if isinstance(entry, re.Pattern):
                return isinstance(entry.pattern, str)  # one of bytes fails with every name
            if not isinstance(entry, str) or not entry:
                return False
            # a prefix with nothing behind it, or where it means nothing, would match no builder
            return entry not in prefixes and (
                not entry.startswith("scheduler:") or "scheduler:" in prefixes
            )

        named = " or ".join(f"{prefix}NAME" for prefix in prefixes)
        check.require(
            (entries is None and key == "builders")
            or (isinstance(entries, list | tuple) and all(map(fine, entries))),
            key,
            entries,
            f"a list of builder names, re.compile(...) or {named}",
        )


def _texts(given: object) -> tuple[str, ...] | None:
    """Return the texts that are *given*: one, or a list of them."""
    if isinstance(given, str):
        return (given,)
    return tuple(given) if isinstance(given, list | tuple) else None


def _is_set_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[a-z0-9_-]{1,64}", name) is not None


def _is_revlink(revlink: object) -> bool:
    if revlink is None or callable(revlink):
        return True
    try:
        return isinstance(revlink, str) and (
            revlink.format(revision="a") != revlink.format(revision="b")
        )
    except (LookupError, ValueError, AttributeError, TypeError):
        return False


def _pickled(check: Checker, revlink: str | Callable[[str], str] | None) -> str | bytes | None:
    """Return *revlink* so that it can go to a reader process.

    Functions of master.cfg are in no module that a process could import; cloudpickle takes along
    what they are.
    """
    if not callable(revlink):
        return revlink
    try:
        pickled: bytes = cloudpickle.dumps(revlink)
    except Exception as error:
        check.require(False, "revlink", revlink, f"a callable that can be pickled ({error})")
        return None
    return pickled
