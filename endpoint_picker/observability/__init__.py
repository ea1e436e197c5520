"""What the picker tells about itself: metrics and logs. Knows nouns of `core`, and no other room."""
