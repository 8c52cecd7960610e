"""What requests ask, and what answers say, as JSON; pydantic checks it and describes it.

Here numbers have their types and lists their bounds. What they mean on a picture the library
checks, and says in its own words.
"""
