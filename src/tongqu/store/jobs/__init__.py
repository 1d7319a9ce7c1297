"""What is to be run, by whom and when: jobs, their leases, and the schedules that make them."""
