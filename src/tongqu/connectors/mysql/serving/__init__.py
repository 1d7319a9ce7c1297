"""What a MariaDB or MySQL database answers to the gateway."""
