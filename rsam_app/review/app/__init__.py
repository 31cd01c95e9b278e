"""The FiftyOne App: session, layout, colors, saved views, review queue, plugin."""
