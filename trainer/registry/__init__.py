"""Model versions: what is registered, which one is champion, where each came from."""
