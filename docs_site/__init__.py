"""The pages of the documentation site: `make docs` assembles them here, and MkDocs builds the site from them."""
