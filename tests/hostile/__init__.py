"""Every text that a user, a file or a catalog can bring, through everything that shows or writes it."""
