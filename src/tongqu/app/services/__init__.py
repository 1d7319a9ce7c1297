"""What Tongqu can be asked to do; the command line and the management API are thin faces of these."""
