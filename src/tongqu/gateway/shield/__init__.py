"""Refuses what looks like an attack before it reaches a source: bodies beyond limits, and injected SQL.

Bound parameters are the defence against injected SQL; the shield stands before them so that an attacker is seen,
counted and stopped, and so that a mistake elsewhere is not at once a hole.
"""
