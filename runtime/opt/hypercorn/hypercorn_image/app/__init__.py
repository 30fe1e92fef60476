"""The application: where it is, what kind it is, its lifespan."""
