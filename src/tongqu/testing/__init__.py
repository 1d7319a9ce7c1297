"""What a connector author or a test needs: real servers on loopback and a proxy that breaks their network."""
