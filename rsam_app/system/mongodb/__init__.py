"""The MongoDB server that FiftyOne needs."""
