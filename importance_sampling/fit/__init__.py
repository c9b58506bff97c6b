"""Keras's own `fit`, served: it stays in charge, and gets chosen samples and a step that tells what each of them lost."""
