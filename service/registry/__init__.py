"""What can be called: models, their versions, the aliases that name them, and their signatures."""
