"""Declares routes: read by the router, the root page, the documents and the tests.

A declaration that cannot be right is refused when its module is imported.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from typing import TypeVar

from buildbot_selfserve.answers import Parameter
from buildbot_selfserve.model import Destination
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import LastGreen
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.params.declared import DRY_RUN
from buildbot_selfserve.params.declared import FORMAT
from buildbot_selfserve.params.declared import IF_PLAN
from buildbot_selfserve.params.declared import PAGING
from buildbot_selfserve.params.declared import PATH
from buildbot_selfserve.params.declared import SELECTORS
from buildbot_selfserve.params.declared import WAIT
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.permissions import RELEASE
from buildbot_selfserve.permissions import Permission

Handler = TypeVar("Handler", bound=Callable[..., Any])

#: Values in place of whose page browsers get that of a revision, or of what was asked for.
_LEADING = (Destination, Health, LastGreen)

METHODS = ("GET", "POST", "PUT", "DELETE")
_SEGMENT = re.compile(r"<([a-z_]+)>|[A-Za-z0-9_.-]+")


class BadDeclaration(Exception):
    """A route was declared in a way that cannot work."""


@dataclass(frozen=True)
class Route:
    """One method on one path.

    :param nouns: the names between < and > in the path, in their order
    :param params: parameters of the query (GET) or of the body
    :param permission: what one must be allowed to do; only job requests have it
    :param returns: the type that the handler returns
    :param template: the page of a GET; ``None`` for what has none, or leads to another
    :param large: its answer may take long, and must keep no small one waiting
    :param paged: it returns ``rows`` of which a client can ask for a part
    :param needs_setup: it needs to know what is configured to build the branch
    :param page_needs_setup: only what its page shows *beside* its value does
    :param needs_master_state: it needs to know what the live objects of the master know
    :param page_needs_master_state: only what its page shows *beside* its value does
    :param beside: what only its page shows, as ``beside``: run after the handler, with the nouns,
        and with the handler's value if it has a parameter *value*
    :param live: a GET of what only the reactor knows: its handler runs there, after the nouns were
        looked up, and the answer is neither JSON nor a page but of this media type
    :param media_types: of the answer of a GET that is neither JSON nor a page, but a text of any
        length, of which readers send part after part; its handler returns a ``LogText``
    :param wait_for: lets clients wait for its answer: run as the handler is, it says what has to
        end before it is worth asking the handler
    :param offers: job requests of which its page says whether the visitor may do them
    :param tells_offers: so does its value, and not only its page
    :param selects: it may be about some builders only: the last of its *params* are the selectors,
        and the handler gets a ``Selection`` in their place
    """

    method: str
    path: str
    nouns: tuple[str, ...]
    params: tuple[Param, ...]
    permission: Permission | None
    returns: type
    template: str | None
    handler: Callable[..., Any]
    large: bool = False
    paged: bool = False
    needs_setup: bool = False
    page_needs_setup: bool = False
    needs_master_state: bool = False
    page_needs_master_state: bool = False
    beside: Callable[..., Any] | None = None
    wait_for: Callable[..., WaitCondition | None] | None = None
    live: str | None = None
    media_types: tuple[str, ...] = ()
    offers: tuple[Permission, ...] = ()
    tells_offers: bool = False
    selects: bool = False

    @cached_property
    def name(self) -> str:
        """Return what tells this route from all others."""
        return f"{self.method} {self.path}"

    @cached_property
    def shown_offers(self) -> tuple[Permission, ...]:
        """Return what it offers: every page of a branch has a button to release it."""
        is_of_branch = self.template is not None and "branch" in self.nouns
        more = (RELEASE,) if is_of_branch and RELEASE not in self.offers else ()
        return (*self.offers, *more)

    @property
    def has_page(self) -> bool:
        """Return whether browsers get a page: of the value, or another that they are led to."""
        return self.template is not None or self.permission is not None or self.leads_on

    @property
    def leads_on(self) -> bool:
        """Return whether browsers are led to a page of something else."""
        return self.returns in _LEADING

    @property
    def text(self) -> str:
        """Return the handler's docstring without its indentation."""
        return inspect.getdoc(self.handler) or ""

    @cached_property
    def beside_needs_value(self) -> bool:
        """Return whether what its page shows beside the value depends on the value."""
        return self.beside is not None and "value" in _parameters(self.beside)

    @cached_property
    def shown_path(self) -> str:
        """Return the path as the documents write it: ``/{branch}/build/{build_id}``."""
        return re.sub("<([a-z_]+)>", lambda m: "{" + PATH[m[1]].name + "}", self.path)

    @cached_property
    def all_params(self) -> tuple[Param, ...]:
        """Return the parameters of the handler, of paging and of waiting."""
        return (
            *self.params,
            *(PAGING if self.paged else ()),
            *((WAIT,) if self.wait_for is not None else ()),
            *((DRY_RUN, IF_PLAN) if self.permission is not None else ()),
        )

    @property
    def query_params(self) -> tuple[Param, ...]:
        """Return the parameters that may stand in the query."""
        if self.method == "GET":
            return self.all_params
        if self.method != "DELETE":
            return (DRY_RUN,)
        # many clients send no body with a DELETE
        return (DRY_RUN, IF_PLAN, *(SELECTORS if self.selects else ()))

    @property
    def body_params(self) -> tuple[Param, ...]:
        """Return the parameters that belong into the body of a job request."""
        return self.params if self.method == "DELETE" else (*self.params, IF_PLAN)

    @cached_property
    def meant_names(self) -> tuple[str, ...]:
        """Return the names of which a misspelled one must not be ignored."""
        method = ("_method",) if self.method == "POST" else ()
        return (*(param.name for param in self.all_params), FORMAT.name, *method)

    @cached_property
    def known_names(self) -> frozenset[str]:
        """Return the names that may be given, though some mean nothing here.

        Clients written for the original API, and forms, repeat what stands in the path.
        """
        path = {PATH[noun].name for noun in self.nouns}
        return frozenset({*self.meant_names, *path, "_method", "branch", "revision"})

    def take_selectors(self, params: dict[str, Any]) -> dict[str, tuple[str, ...]] | None:
        """Take the selectors out of *params*; return them by name, or ``None`` without any."""
        return {param.name: params.pop(param.name) for param in SELECTORS} if self.selects else None

    def take_nouns(self, params: dict[str, Any]) -> dict[str, str]:
        """Take the parameters that identify a noun out of *params*; return their texts by noun."""
        taken = {param.noun: params.pop(param.name) for param in self.params if param.noun}
        return {noun: str(value) for noun, value in taken.items() if value is not None}

    def parameters(self) -> tuple[Parameter, ...]:
        """Return every parameter with its documentation, those of the path first."""
        in_query = self.query_params
        return (
            *(PATH[noun].documented("path") for noun in self.nouns),
            *(
                param.documented("query" if param in in_query else "body")
                for param in self.all_params
            ),
        )


class Declarations:
    """The routes that were declared, in their order."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def __getitem__(self, name: str) -> Route:
        return self._routes[name]

    def declare(
        self,
        method: str,
        path: str,
        *,
        params: tuple[Param, ...] = (),
        permission: Permission | None = None,
        returns: type,
        template: str | None = None,
        large: bool = False,
        paged: bool = False,
        needs_setup: bool = False,
        page_needs_setup: bool = False,
        needs_master_state: bool = False,
        page_needs_master_state: bool = False,
        beside: Callable[..., Any] | None = None,
        wait_for: Callable[..., WaitCondition | None] | None = None,
        live: str | None = None,
        media_types: tuple[str, ...] = (),
        offers: tuple[Permission, ...] = (),
        tells_offers: bool = False,
        selects: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function as the handler of *method* on *path*.

        With *selects*, the selectors are among its parameters (``params.declared.SELECTORS``), and
        the handler gets their meaning as ``selection``.

        A GET handler is a plain function, run outside the reactor unless the route is live; any
        other is a coroutine. All get ``ctx``, the nouns of the path and the parameters, by name. A
        GET handler, and ``wait_for``, may return ``None``: there is nothing to tell of.

        :raises BadDeclaration: what is declared cannot work
        """

        def decorate(handler: Handler) -> Handler:
            nouns = _nouns(path)
            route = Route(
                method,
                path,
                nouns,
                (*params, *SELECTORS) if selects else params,
                permission,
                returns,
                template,
                handler,
                large=large,
                paged=paged,
                needs_setup=needs_setup,
                page_needs_setup=page_needs_setup,
                needs_master_state=needs_master_state,
                page_needs_master_state=page_needs_master_state,
                beside=beside,
                wait_for=wait_for,
                live=live,
                media_types=media_types,
                offers=offers,
                tells_offers=tells_offers,
                selects=selects,
            )
            _check(route)
            if route.name in self._routes:
                raise BadDeclaration(f"{route.name} is declared twice")
            self._routes[route.name] = route
            return handler

        return decorate


def _nouns(path: str) -> tuple[str, ...]:
    if not path.startswith("/"):
        raise BadDeclaration(f"{path!r} does not begin with a slash")
    if path == "/":
        return ()
    nouns = []
    for segment in path[1:].split("/"):
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise BadDeclaration(f"{path!r}: {segment!r} is neither a word nor a <noun>")
        if match[1]:
            nouns.append(match[1])
    unknown = [noun for noun in nouns if noun not in PATH]
    if unknown:
        raise BadDeclaration(f"{path!r}: <{unknown[0]}> is not one of {', '.join(PATH)}")
    if len(set(nouns)) != len(nouns):
        raise BadDeclaration(f"{path!r} names a noun twice")
    return tuple(nouns)


def _check(route: Route) -> None:
    def refuse(why: str) -> None:
        raise BadDeclaration(f"{route.name}: {why}")

    if route.method not in METHODS:
        refuse(f"the method must be one of {', '.join(METHODS)}")
    if not (route.handler.__doc__ or "").strip():
        refuse("the handler has no docstring, so nobody could read what it does")
    reads = route.method == "GET"
    if reads and route.permission is not None:
        refuse("a GET changes nothing and takes no permission")
    if not reads and route.permission is None:
        refuse("a job request needs a permission")
    if route.template is not None and not reads:
        refuse("a job request has no page of its own: browsers are led to that of its job")
    if route.offers and (not reads or "branch" not in route.nouns):
        refuse("only a GET of a branch, or of something there, offers job requests")
    if reads == inspect.iscoroutinefunction(route.handler):
        refuse("a GET handler is a plain function, every other one a coroutine")
    if route.wait_for is not None and not reads:
        refuse("only the answer of a GET is held back")
    if route.wait_for is not None and (route.large or route.paged):
        refuse("a long answer cannot be shared, and so is not held back")
    if route.live is not None and (
        not reads or route.params or route.paged or route.wait_for or route.template is not None
    ):
        refuse("what is live is a GET without parameters, without a page and never held back")
    if route.media_types and (
        not reads or route.paged or route.wait_for or route.live or route.template is not None
    ):
        refuse("what is sent as a text is a GET without a page, and never held back")
    if route.beside is not None and (not reads or route.template is None):
        refuse("only the page of a GET shows something beside its value")
    if route.page_needs_setup and route.beside is None:
        refuse("its page shows nothing that would need the setup")
    if route.page_needs_master_state and route.beside is None:
        refuse("its page shows nothing that would need the state of the master")
    if route.needs_master_state and (not reads or route.wait_for is not None):
        refuse("only a GET that is never held back needs the state of the master")
    names = [param.name for param in route.params]
    if len(set(names)) != len(names):
        refuse("a parameter is declared twice")
    own = [param for param in route.params if not (route.selects and param in SELECTORS)]
    expected = ["ctx", *route.nouns, *(param.noun or snake(param.name) for param in own)]
    expected += ["selection"] * route.selects
    for what, function in (("the handler", route.handler), ("wait_for", route.wait_for)):
        actual = expected if function is None else _parameters(function)
        if sorted(expected) != sorted(actual) or actual[0] != "ctx":
            refuse(f"{what} takes ({', '.join(actual)}), declared is ({', '.join(expected)})")
    nouns = ["ctx", *route.nouns, *(param.noun for param in route.params if param.noun)]
    if route.beside is not None and _parameters(route.beside) not in (
        nouns,
        [*nouns, "value"],
    ):
        refuse(f"what its page shows beside its value takes ({', '.join(nouns)})")
    if route.permission and route.permission.noun not in (None, *expected):
        refuse(f"the permission is about a {route.permission.noun}, which this route has not")


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def snake(name: str) -> str:
    """Return a wire name as a Python name: ``stableDelay`` is ``stable_delay``."""
    return re.sub("([A-Z])", lambda m: "_" + m[1].lower(), name)


#: The routes of this API; ``buildbot_selfserve.resources`` fills it.
ROUTES = Declarations()
declare = ROUTES.declare
