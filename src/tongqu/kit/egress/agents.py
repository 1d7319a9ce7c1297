"""Hops that are agents: another site's process that dialled out to a hub, which passes our connections down to it."""

from __future__ import annotations

from dataclasses import dataclass

import asyncssh

from tongqu.core.errors import AuthError, ConnectError, TongquError
from tongqu.kit.egress.dial import Below
from tongqu.kit.egress.loop import run
from tongqu.kit.egress.place import Place
from tongqu.kit.egress.ssh import SshServer

ABSENT = "the agent is not connected"
"""How the hub refuses a connection through an agent that is not there."""
PRESENT = "present"
"""What the hub answers when it is asked for an agent that is there."""
USE = "use."
"""Begins the user name of who wants to go through an agent; the agent's name follows."""
SERVE = "agent."
"""Begins the user name of an agent."""


@dataclass(frozen=True)
class Agent(SshServer):
    """An agent as a hop: `place` is the hub, which may be our own."""

    ours: bool = True

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.login.user.removeprefix(USE)

    def reach(self, below: Below, deadline: float) -> None:
        """See Hop.reach."""
        session = self.session(below, deadline)
        try:
            said = run(session.say("status"), deadline).strip()
        except (OSError, asyncssh.Error) as error:
            raise self.failed(error) from None
        if said != PRESENT:
            raise self._absent()

    def present(self, below: Below, deadline: float) -> list[str]:
        """The names of all agents that are connected to the hub; raises as `reach` does."""
        session = self.session(below, deadline)
        try:
            return run(session.say("agents"), deadline).split()
        except (OSError, asyncssh.Error) as error:
            raise self.failed(error) from None

    def unreached(self, place: Place, why: str) -> TongquError:
        """See SshServer.unreached."""
        return self._absent() if why == ABSENT else super().unreached(place, why)

    def failed(self, error: BaseException) -> ConnectError:
        """See SshServer.failed."""
        found = super().failed(error)
        return ConnectError(found.message, path=found.path, hint="check that the hub runs there: `tongqu agent hub`")

    def denied(self) -> AuthError:
        """See SshServer.denied."""
        hint = "check the token: `tongqu agent add NAME --use` makes one"
        return AuthError(f"{self.label}: the hub refused the token", path=str(self.place), hint=hint)

    def _absent(self) -> ConnectError:
        hint = f"start it at its site: `tongqu agent run --name {self.name} …`, and look into its log"
        return ConnectError(f"{self.label} is not connected", path=str(self.place), hint=hint)
