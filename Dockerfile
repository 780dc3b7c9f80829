ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY . .
RUN python3 -m venv --without-pip /opt/regadmin \
 && python3 -m pip --python /opt/regadmin/bin/python install --no-cache-dir .

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="RegistryAdmin" \
      org.opencontainers.image.description="Admin UI and token-authentication server for a private Docker/OCI registry" \
      org.opencontainers.image.licenses="MIT"
# Another user at the start: docker run --user UID:0
ARG APP_UID=1001
COPY --from=build /opt/regadmin /opt/regadmin
# The defaults of the options lead to the volumes, so that a configuration file can still say otherwise. All that is
# written belongs to group 0, of which the user is whatever his number.
RUN mkdir -p /data /config /certs /auth /home/regadmin \
 && ln -s /certs /home/regadmin/.registry-certs \
 && chown ${APP_UID}:0 /data /config /certs /auth \
 && chmod 0770 /data /config /certs /auth
ENV PATH=/opt/regadmin/bin:$PATH HOME=/home/regadmin PYTHONUNBUFFERED=1
WORKDIR /data
VOLUME ["/data", "/config", "/certs", "/auth"]
EXPOSE 80 443
USER ${APP_UID}:0
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["regadmin", "ping"]
ENTRYPOINT ["regadmin"]
