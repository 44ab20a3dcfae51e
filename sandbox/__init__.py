"""HubSpot and Mailchimp as they behave on the wire, without an account: for ``tandem demo``, tests and benchmarks.

``hubspot`` and ``mailchimp`` are the two simulators, each a Starlette app over records in memory.  ``serve`` runs both
in a thread or a process; ``people`` fills them with believable people; ``faults`` makes them fail on demand;
``webhooks`` delivers what happened, with each vendor's own retries.  Beside the vendor's endpoints every simulator has
``/_sandbox/...``, by which a test or a demo looks in and interferes.

They share no code with ``connectors``: two readings of the same documents, that check each other.
"""
