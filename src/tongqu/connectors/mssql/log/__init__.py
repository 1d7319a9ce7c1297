"""Follows SQL Server's change tables (CDC) or its change tracking."""
