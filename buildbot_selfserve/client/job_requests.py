"""Job requests, each once, for every kind of client."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal
from typing import overload

from buildbot_selfserve.client import options
from buildbot_selfserve.client.exchange import Question
from buildbot_selfserve.client.exchange import Server
from buildbot_selfserve.client.exchange import Steps
from buildbot_selfserve.client.exchange import ask
from buildbot_selfserve.client.rows import Plan
from buildbot_selfserve.client.rows import Receipt

if TYPE_CHECKING:
    from typing_extensions import Unpack


class JobRequests:
    """The job requests of the API, as steps.

    All take a *key*, by which the server knows what it has done already. With *dry_run*, they
    return a plan in place of a receipt.
    """

    def __init__(self, server: Server) -> None:
        self.server = server

    @overload
    def rebuild_build(
        self,
        branch: str,
        build_id: int,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.Rebuild],
    ) -> Steps[Plan]: ...
    @overload
    def rebuild_build(
        self,
        branch: str,
        build_id: int,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Rebuild],
    ) -> Steps[Receipt]: ...
    def rebuild_build(
        self,
        branch: str,
        build_id: int,
        *,
        count: int | None = None,
        priority: int | None = None,
        properties: Mapping[str, Any] | None = None,
        same_revision: bool = False,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Build a build again.

        :param count: how many times; ``None`` for once
        :param priority: the higher, the sooner; ``None`` for what is usual
        :param properties: properties to set, or with ``None`` to remove; the others stay
        :param same_revision: where no revision was named, build the one that the build found
        :param dry_run: do nothing, and return the plan; all job requests take this
        :param if_plan: do it only if the plan is still the one with this text, which a dry run
            has returned; all job requests take this
        :param key: what was asked for with the same key before is not done again; ``None`` for a
            key of its own, as for all job requests
        :raises PlanChanged: the plan is another one than *if_plan*; nothing was done
        """
        return self._job(
            "POST",
            branch,
            "build",
            build_id=build_id,
            count=count,
            priority=priority,
            properties=_properties(properties),
            same_revision="1" if same_revision else None,
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def rebuild_request(
        self,
        branch: str,
        request_id: int,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.Rebuild],
    ) -> Steps[Plan]: ...
    @overload
    def rebuild_request(
        self,
        branch: str,
        request_id: int,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Rebuild],
    ) -> Steps[Receipt]: ...
    def rebuild_request(
        self,
        branch: str,
        request_id: int,
        *,
        count: int | None = None,
        priority: int | None = None,
        properties: Mapping[str, Any] | None = None,
        same_revision: bool = False,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Build a build request again; the arguments are those of ``rebuild_build``."""
        return self._job(
            "POST",
            branch,
            "request",
            request_id=request_id,
            count=count,
            priority=priority,
            properties=_properties(properties),
            same_revision="1" if same_revision else None,
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def rerun_failed(
        self,
        branch: str,
        revision: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.Rerun],
    ) -> Steps[Plan]: ...
    @overload
    def rerun_failed(
        self,
        branch: str,
        revision: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Rerun],
    ) -> Steps[Receipt]: ...
    def rerun_failed(
        self,
        branch: str,
        revision: str,
        *,
        states: Sequence[str] | None = None,
        builders: options.Patterns | None = None,
        tags: options.Patterns | None = None,
        exclude_builders: options.Patterns | None = None,
        priority: int | None = None,
        count: int | None = None,
        properties: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Build again what failed at a revision: each builder whose latest result is a failure.

        What is pending or running there already is left out, so it is safe to do twice.

        :param states: the latest results to rerun: ``failure``, ``exception``, ``warnings``,
            ``cancelled``, ``retry``; ``None`` for the first two
        :param builders: only builders whose names match one of these shell patterns; a text has
            one a line
        :param tags: only builders that have a tag which matches one of these
        :param exclude_builders: no builders whose names match one of these
        """
        return self._job(
            "POST",
            branch,
            "rev",
            revision,
            "failed",
            states=None if states is None else list(states),
            builders=_patterns(builders),
            tags=_patterns(tags),
            exclude_builders=_patterns(exclude_builders),
            priority=priority,
            count=count,
            properties=_properties(properties),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def fill_missing(
        self,
        branch: str,
        revision: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.SelectedBuilds],
    ) -> Steps[Plan]: ...
    @overload
    def fill_missing(
        self,
        branch: str,
        revision: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.SelectedBuilds],
    ) -> Steps[Receipt]: ...
    def fill_missing(
        self,
        branch: str,
        revision: str,
        *,
        builders: options.Patterns | None = None,
        tags: options.Patterns | None = None,
        exclude_builders: options.Patterns | None = None,
        priority: int | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Build at a revision what the schedulers of the branch would build and has no result.

        :param builders: as for ``rerun_failed``, and *tags* and *exclude_builders*
        """
        return self._job(
            "POST",
            branch,
            "rev",
            revision,
            "missing",
            builders=_patterns(builders),
            tags=_patterns(tags),
            exclude_builders=_patterns(exclude_builders),
            priority=priority,
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def backfill(
        self,
        branch: str,
        builder: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.Backfill],
    ) -> Steps[Plan]: ...
    @overload
    def backfill(
        self,
        branch: str,
        builder: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Backfill],
    ) -> Steps[Receipt]: ...
    def backfill(
        self,
        branch: str,
        builder: str,
        *,
        revision: str | None = None,
        good: str | None = None,
        max: int | None = None,
        times: int | None = None,
        order: str | None = None,
        priority: int | None = None,
        force: bool = False,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Build with a builder what is missing between a good and a bad revision.

        What has a result, or is pending or running, is left out, so it is safe to do twice.

        :param revision: the bad one; ``None`` for the newest that fails
        :param good: ``None`` for the last one before it that passes
        :param max: so many revisions may lie between the two
        :param times: so many results each of them is to have
        :param order: ``newest``, ``oldest`` or ``halving``
        :param force: where none of *max* revisions passes, build all of them
        """
        return self._job(
            "POST",
            branch,
            "backfill",
            builder_name=builder,
            revision=revision,
            good=good,
            max=max,
            times=times,
            order=order,
            priority=priority,
            force="1" if force else None,
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def bisect(
        self,
        branch: str,
        builder: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.Bisect],
    ) -> Steps[Plan]: ...
    @overload
    def bisect(
        self,
        branch: str,
        builder: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Bisect],
    ) -> Steps[Receipt]: ...
    def bisect(
        self,
        branch: str,
        builder: str,
        *,
        revision: str | None = None,
        good: str | None = None,
        max: int | None = None,
        confirm: int | None = None,
        properties: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Begin to look for the revision that broke a builder; ``bisection`` says how far it is.

        The same builder and range again joins the one that goes on already.

        :param revision: the bad one; ``None`` for the newest that fails
        :param good: ``None`` for the last one before it that passes
        :param max: so many revisions may lie between the two
        :param confirm: so many more builds of the last good and of the first bad revision, at
            least, must say the same
        :param properties: properties of the builds, JSON-able, by name
        """
        return self._job(
            "POST",
            branch,
            "bisect",
            builder_name=builder,
            revision=revision,
            good=good,
            max=max,
            confirm=confirm,
            properties=_properties(properties),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def stop_bisection(
        self,
        branch: str,
        job_id: int,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.JobOptions],
    ) -> Steps[Plan]: ...
    @overload
    def stop_bisection(
        self,
        branch: str,
        job_id: int,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.JobOptions],
    ) -> Steps[Receipt]: ...
    def stop_bisection(
        self,
        branch: str,
        job_id: int,
        *,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Stop a bisection, and cancel what it has requested."""
        return self._job(
            "DELETE",
            branch,
            "bisect",
            str(job_id),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def cancel_build(
        self,
        branch: str,
        build_id: int,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.JobOptions],
    ) -> Steps[Plan]: ...
    @overload
    def cancel_build(
        self,
        branch: str,
        build_id: int,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.JobOptions],
    ) -> Steps[Receipt]: ...
    def cancel_build(
        self,
        branch: str,
        build_id: int,
        *,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Cancel a build: stop it, and let its request not be built again."""
        return self._job(
            "DELETE",
            branch,
            "build",
            str(build_id),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def cancel_request(
        self,
        branch: str,
        request_id: int,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.JobOptions],
    ) -> Steps[Plan]: ...
    @overload
    def cancel_request(
        self,
        branch: str,
        request_id: int,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.JobOptions],
    ) -> Steps[Receipt]: ...
    def cancel_request(
        self,
        branch: str,
        request_id: int,
        *,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Cancel a build request, or stop its build."""
        return self._job(
            "DELETE",
            branch,
            "request",
            str(request_id),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def cancel_revision(
        self,
        branch: str,
        revision: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.Selectors],
    ) -> Steps[Plan]: ...
    @overload
    def cancel_revision(
        self,
        branch: str,
        revision: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Selectors],
    ) -> Steps[Receipt]: ...
    def cancel_revision(
        self,
        branch: str,
        revision: str,
        *,
        builders: options.Patterns | None = None,
        tags: options.Patterns | None = None,
        exclude_builders: options.Patterns | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Cancel everything at a revision: what waits, then what runs.

        :param builders: as for ``rerun_failed``, and *tags* and *exclude_builders*
        """
        return self._job(
            "DELETE",
            branch,
            "rev",
            revision,
            builders=_patterns(builders),
            tags=_patterns(tags),
            exclude_builders=_patterns(exclude_builders),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def reprioritize(
        self,
        branch: str,
        request_id: int,
        priority: int | Literal["next"],
        *,
        dry_run: Literal[True],
        **options: Unpack[options.JobOptions],
    ) -> Steps[Plan]: ...
    @overload
    def reprioritize(
        self,
        branch: str,
        request_id: int,
        priority: int | Literal["next"],
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.JobOptions],
    ) -> Steps[Receipt]: ...
    def reprioritize(
        self,
        branch: str,
        request_id: int,
        priority: int | Literal["next"],
        *,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Give a pending build request another priority.

        :param priority: ``next`` for one more than the highest that waits for its builder
        """
        return self._job(
            "PUT",
            branch,
            "request",
            str(request_id),
            priority=priority,
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def reprioritize_revision(
        self,
        branch: str,
        revision: str,
        priority: int | Literal["next"],
        *,
        dry_run: Literal[True],
        **options: Unpack[options.Selectors],
    ) -> Steps[Plan]: ...
    @overload
    def reprioritize_revision(
        self,
        branch: str,
        revision: str,
        priority: int | Literal["next"],
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Selectors],
    ) -> Steps[Receipt]: ...
    def reprioritize_revision(
        self,
        branch: str,
        revision: str,
        priority: int | Literal["next"],
        *,
        builders: options.Patterns | None = None,
        tags: options.Patterns | None = None,
        exclude_builders: options.Patterns | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Give everything that is pending at a revision another priority.

        :param priority: ``next`` for one more than the highest that waits for each builder
        :param builders: as for ``rerun_failed``, and *tags* and *exclude_builders*
        """
        return self._job(
            "PUT",
            branch,
            "rev",
            revision,
            priority=priority,
            builders=_patterns(builders),
            tags=_patterns(tags),
            exclude_builders=_patterns(exclude_builders),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def build(
        self,
        branch: str,
        revision: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.NewBuilds],
    ) -> Steps[Plan]: ...
    @overload
    def build(
        self,
        branch: str,
        revision: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.NewBuilds],
    ) -> Steps[Receipt]: ...
    def build(
        self,
        branch: str,
        revision: str,
        *,
        builders: options.Patterns | None = None,
        tags: options.Patterns | None = None,
        exclude_builders: options.Patterns | None = None,
        priority: int | None = None,
        properties: Mapping[str, Any] | None = None,
        files: Sequence[str] | None = None,
        category: str | None = None,
        project: str | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Build a revision: at once, all that the schedulers of the branch would build.

        :param builders: as for ``rerun_failed``, and *tags* and *exclude_builders*
        :param properties: properties of the change, if one has to be recorded, else of the builds
        :param files: names of the changed files, and *category* and *project*, of a change that has
            to be recorded
        """
        return self._job(
            "POST",
            branch,
            "rev",
            revision,
            builders=_patterns(builders),
            tags=_patterns(tags),
            exclude_builders=_patterns(exclude_builders),
            priority=priority,
            properties=_properties(properties),
            files=None if files is None else list(files),
            category=category,
            project=project,
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def build_set(
        self,
        branch: str,
        revision: str,
        name: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.SelectedBuilds],
    ) -> Steps[Plan]: ...
    @overload
    def build_set(
        self,
        branch: str,
        revision: str,
        name: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.SelectedBuilds],
    ) -> Steps[Receipt]: ...
    def build_set(
        self,
        branch: str,
        revision: str,
        name: str,
        *,
        builders: options.Patterns | None = None,
        tags: options.Patterns | None = None,
        exclude_builders: options.Patterns | None = None,
        priority: int | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Build a revision with a set of builders.

        :param name: ``nightly``, ``pgo`` or a set that the server is configured with
        :param builders: as for ``rerun_failed``, and *tags* and *exclude_builders*
        """
        return self._job(
            "POST",
            branch,
            "rev",
            revision,
            name,
            builders=_patterns(builders),
            tags=_patterns(tags),
            exclude_builders=_patterns(exclude_builders),
            priority=priority,
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def build_with(
        self,
        branch: str,
        revision: str,
        builder: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.OneBuild],
    ) -> Steps[Plan]: ...
    @overload
    def build_with(
        self,
        branch: str,
        revision: str,
        builder: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.OneBuild],
    ) -> Steps[Receipt]: ...
    def build_with(
        self,
        branch: str,
        revision: str,
        builder: str,
        *,
        properties: Mapping[str, Any] | None = None,
        files: Sequence[str] | None = None,
        priority: int | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Build a revision once, with one builder.

        :param properties: properties of the build, JSON-able, by name
        :param files: names of changed files, for the steps that look at them
        """
        return self._job(
            "POST",
            branch,
            "builders",
            builder,
            revision,
            properties=_properties(properties),
            files=None if files is None else list(files),
            priority=priority,
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def hold(
        self,
        branch: str,
        *,
        reason: str,
        expires: int | str,
        dry_run: Literal[True],
        **options: Unpack[options.Hold],
    ) -> Steps[Plan]: ...
    @overload
    def hold(
        self,
        branch: str,
        *,
        reason: str,
        expires: int | str,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Hold],
    ) -> Steps[Receipt]: ...
    def hold(
        self,
        branch: str,
        *,
        reason: str,
        expires: int | str,
        above: int | None = None,
        builders: options.Patterns | None = None,
        tags: options.Patterns | None = None,
        exclude_builders: options.Patterns | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """Keep pending requests of a branch from starting; one with the same patterns is replaced.

        :param expires: when it ends: epoch seconds, or ISO 8601 with an offset
        :param above: start requests with this priority or a higher one
        :param builders: as for ``rerun_failed``, and *tags* and *exclude_builders*
        """
        return self._job(
            "PUT",
            branch,
            "hold",
            reason=reason,
            expires=expires,
            above=above,
            builders=_patterns(builders),
            tags=_patterns(tags),
            exclude_builders=_patterns(exclude_builders),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    @overload
    def release(
        self,
        branch: str,
        *,
        dry_run: Literal[True],
        **options: Unpack[options.Selectors],
    ) -> Steps[Plan]: ...
    @overload
    def release(
        self,
        branch: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[options.Selectors],
    ) -> Steps[Receipt]: ...
    def release(
        self,
        branch: str,
        *,
        builders: options.Patterns | None = None,
        tags: options.Patterns | None = None,
        exclude_builders: options.Patterns | None = None,
        dry_run: bool = False,
        if_plan: str | None = None,
        key: str | None = None,
    ) -> Steps[Receipt | Plan]:
        """End the holds of a branch: all of them, or the one that was made with these patterns."""
        return self._job(
            "DELETE",
            branch,
            "hold",
            builders=_patterns(builders),
            tags=_patterns(tags),
            exclude_builders=_patterns(exclude_builders),
            dry_run=dry_run,
            if_plan=if_plan,
            key=key,
        )

    def _job(
        self,
        method: str,
        *path: str,
        dry_run: bool,
        if_plan: str | None,
        key: str | None,
        **body: Any,
    ) -> Steps[Any]:
        """Return the receipt of a job request, or the plan of a dry run."""
        body = {**body, "dry_run": True if dry_run else None, "if_plan": if_plan}
        question = Question(method, path, body=body, key=key)
        answer, _ = yield from ask(self.server, question, Plan if dry_run else Receipt)
        return answer


def _properties(properties: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if properties is None else dict(properties)


def _patterns(patterns: options.Patterns | None) -> str | list[str] | None:
    return patterns if patterns is None or isinstance(patterns, str) else list(patterns)
