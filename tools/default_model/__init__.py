"""The embedded model: its pictures and captions, its three networks, their training and their export."""
