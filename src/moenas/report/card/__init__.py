"""Model cards: what a model is, for whom, how good and how sure, in Hugging Face's format."""
