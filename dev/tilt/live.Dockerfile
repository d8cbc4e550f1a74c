# Appended to a shipped Dockerfile by the Tiltfile: the container runs a copy of the code that can be
# written to, below a volume that every pod has and that outlives a restart of the container.
ARG ROOM
ENV ROOM=${ROOM} \
    PYTHONPATH=/tmp/live:/app
ENTRYPOINT ["/bin/sh", "-c", "[ -d /tmp/live ] || cp -r /app /tmp/live; exec python -m metricwatch_$ROOM \"$@\"", "sh"]
