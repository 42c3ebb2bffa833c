"""What a provider implements and speaks. Imports nothing else of ours."""
