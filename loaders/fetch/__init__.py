"""Bytes of the chosen members, from where they lie into a batch's memory."""
