"""Find wheels, digests of base images and what is outdated. Needs the network; writes the lock files."""
