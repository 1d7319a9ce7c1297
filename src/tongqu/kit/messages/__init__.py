"""Messages of brokers, webhooks and queues: many at once become Arrow rows, and rows become messages.

reader = Reader(settings.shape("orders"), dataset, keeper)
decoded = reader.decode(Messages(values, keys, labels))     # rows, the message of each, and those nobody can read
encoded = Encoder(shape, schema, key=("id",)).encode(rows)  # keys and values, bytes each
"""
