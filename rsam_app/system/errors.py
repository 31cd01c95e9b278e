"""The one exception a person can cause: its text says what is wrong, where, and what to do."""


class UserError(Exception):
    """Something the user must change. The command line prints the message without a traceback and exits with 2.

    The message is one or two lines: what is wrong, where (file, row, key, value), what to do.
    """
