"""What a compiled model tells of single samples. Whatever is TensorFlow's own, other than reading data, is here."""
