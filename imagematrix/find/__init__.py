"""What the network knows: wheels, digests of bases, what is outdated. Writes the lock files, reads no image."""
