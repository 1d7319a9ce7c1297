"""Answers that stand ready: a request that was asked and answered before is answered again without a detour."""
