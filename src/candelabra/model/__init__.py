"""The encoder, what pools it, what freezes it, and the heads on it."""
