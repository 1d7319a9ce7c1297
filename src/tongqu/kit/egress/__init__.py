"""How connections to the outside are opened: by which address, through which hops, and which are refused.

Settings of a connection over the network derive from `settings.Networked`, which brings the field `via`; their
`egress((host, port))` is a `dial.Egress`. Three ways to use it, best first:

* `connect(host, port, timeout)` gives a connected TCP socket, through all hops (HTTP, pymysql, FTP, LDAP, …).
* `route(host, port, timeout)` gives addresses and a port for a driver that opens its own sockets and can be told an
  address beside the name it checks the certificate against (libpq's `hostaddr`); ask again for each connection.
* `pinned_loop.PinnedLoop(route)` is an event loop that follows a route, for drivers that live in asyncio.

What comes from data (links, redirects, URLs in documents) is passed with `Grant.DATA`, what the operator wrote with
`Grant.OPERATOR` (the default). `check(url, grant)` refuses before anything is sent and returns the host and port to
connect to. `stages(host, port)` are the first stages of a connector's `check`.
"""
