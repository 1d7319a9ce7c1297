"""Attacks made by rule, for trying a gateway: injections in many disguises, hostile heads and bodies, and what people
really write beside them."""
