"""The limit on open files, which is one on open connections."""

from __future__ import annotations

import sys

from training.client.errors import RequestError

SPARE = 100  # for everything that is no connection

if sys.platform == "win32":

    def allow_open_files(connections: int) -> None:
        """Do nothing: sockets are no files here."""

else:
    import resource

    def allow_open_files(connections: int) -> None:
        """Raise this process's own limit where so many connections need it.

        Raises:
            RequestError: the system allows fewer.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = connections + SPARE
        if soft == resource.RLIM_INFINITY or needed <= soft:
            return
        if hard != resource.RLIM_INFINITY and needed > hard:
            raise RequestError(
                f"{connections:,} connections need {needed:,} open files; the system allows "
                f"{hard:,}; ask for fewer, or raise the limit (ulimit -Hn)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
