"""Which candidates may serve a request: one small class for each reason to leave one out."""
