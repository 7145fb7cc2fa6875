"""What answers questions: model pool, dynamic batching, limits, address guard. No Gradio here.

The page and any other face hand in values as visitors sent them; `values` checks these,
`uploads` opens the files among them, `answers` answers.
"""
