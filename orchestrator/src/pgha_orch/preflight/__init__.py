"""What a cluster will depend on, measured on its hosts before anything is written there."""
