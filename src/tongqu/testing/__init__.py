"""What a connector author or a test needs: real servers on loopback, a fault proxy and later the conformance kit."""
