"""Slots on hosts that do not see the spool: what travels to them, what evaluates there, what is made of the answers."""
