"""What answers questions: model pool, dynamic batching, limits, address guard. No Gradio here."""
