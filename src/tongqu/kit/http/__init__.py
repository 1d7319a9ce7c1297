"""HTTP calls: how they are signed, paced, repeated, kept and recorded.

Settings of a connector over HTTP derive from `settings.HttpSettings`; one `client.Http` a connection makes the calls:

    http = Http(settings, folder=lodging)
    reply = http.send(Call("GET", http.url("/orders"), [("page", "2")], stop=read.stop))
    content = expect(reply, "json")

An address that came out of an answer goes with `grant=Grant.DATA`. A call that changes something says by `repeat` or
`key` whether it may be made again; UnknownOutcomeError means that it may have had its effect. `stream` reads an answer
while it arrives. Tests give `clock=SwiftClock()`, so that waits take no time.
"""
