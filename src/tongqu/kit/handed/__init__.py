"""Brokers that hand each message out once and forget it when it is acknowledged, whatever protocol they speak.

A connector brings settings (`HandedSettings`) and a `Line`, one connection of its protocol; source, log and sink are
here.
"""
