"""The live demo: somebody changes an order in the ERP; it is in the MES at once, and who subscribed is told."""
