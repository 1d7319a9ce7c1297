"""How much may be asked: exact rates, requests at the same time, and shedding of what is too much."""
