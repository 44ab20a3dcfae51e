// Node-RED for the bench: the flow and nothing else; no editor, no telemetry, no look for newer versions.
module.exports = {
    uiHost: "127.0.0.1",
    httpAdminRoot: false,
    credentialSecret: false,
    telemetry: { enabled: false, updateNotification: false },
    externalModules: { autoInstall: false, palette: { allowInstall: false, allowUpload: false } },
    logging: { console: { level: "warn", metrics: false, audit: false } },
};
