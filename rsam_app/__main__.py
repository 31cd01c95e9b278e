"""`python -m rsam_app`; `accelerate launch -m rsam_app` runs it."""

from rsam_app.cli import main

if __name__ == "__main__":
    main()
