"""Models on the Hugging Face hub: fetched into its local cache, and pushed with a model card."""
