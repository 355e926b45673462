{{/* The release's name, once: objects are called RELEASE-ROLE. Arguments: root, role. */}}
{{- define "rpingmesh.name" -}}
{{ printf "%s-%s" (trunc 40 .root.Release.Name) .role }}
{{- end }}

{{- define "rpingmesh.agentNamespace" -}}
{{ default .Release.Namespace .Values.agent.namespace }}
{{- end }}

{{/* What pods are selected by. */}}
{{- define "rpingmesh.selector" -}}
app.kubernetes.io/name: rpingmesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "rpingmesh.labels" -}}
{{ include "rpingmesh.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "rpingmesh.image" -}}
image: {{ printf "%s/%s:%s" .root.Values.image.registry .role (default .root.Chart.AppVersion .root.Values.image.tag) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}

{{- define "rpingmesh.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The line `store` of a server's configuration, in mode scale. */}}
{{- define "rpingmesh.store" -}}
{{- $db := .Values.database }}
{{- if not $db.hosts }}{{ fail "mode `scale` needs database.hosts: the PostgreSQL server, as HOST or HOST:PORT" }}{{ end }}
{{- if not $db.fleet }}{{ fail "mode `scale` needs database.fleet: any name of this fleet" }}{{ end -}}
store = "postgres://{{ $db.user }}@{{ $db.hosts }}/{{ $db.name }}?fleet={{ $db.fleet }}&password_file=/etc/rpingmesh-database/password&sslrootcert=/etc/rpingmesh-database/ca.crt"
{{- end }}

{{/* Certificates: the same files for each role. */}}
{{- define "rpingmesh.tls" -}}
[tls]
cert = "/etc/rpingmesh-tls/tls.crt"
key = "/etc/rpingmesh-tls/tls.key"
ca = "/etc/rpingmesh-tls/ca.crt"
{{- end }}

{{/* A server's pod: all but its ports, probes and resources. */}}
{{- define "rpingmesh.serverPod" -}}
automountServiceAccountToken: false
terminationGracePeriodSeconds: 10
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- include "rpingmesh.pullSecrets" .root }}
{{- end }}

{{- define "rpingmesh.serverContainer" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: config
    mountPath: /etc/rpingmesh
    readOnly: true
  - name: tls
    mountPath: /etc/rpingmesh-tls
    readOnly: true
  - name: state
    mountPath: /var/lib/rpingmesh-{{ .role }}
{{- if eq .root.Values.mode "scale" }}
  - name: database
    mountPath: /etc/rpingmesh-database
    readOnly: true
{{- end }}
{{- end }}

{{- define "rpingmesh.serverVolumes" -}}
{{- $name := include "rpingmesh.name" . -}}
- name: config
  configMap:
    name: {{ $name }}
- name: tls
  secret:
    secretName: {{ (index .root.Values .role).tlsSecret }}
    defaultMode: 0440
{{- if eq .root.Values.mode "scale" }}
- name: database
  secret:
    secretName: {{ .root.Values.database.secret }}
    defaultMode: 0440
- name: state
  emptyDir: {}
{{- else }}
- name: state
  persistentVolumeClaim:
    claimName: {{ $name }}
{{- end }}
{{- end }}

{{- define "rpingmesh.claim" -}}
{{- $storage := (index .root.Values .role).storage -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "rpingmesh.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "rpingmesh.labels" . | nindent 4 }}
  annotations:
    # `helm uninstall` leaves the data.
    helm.sh/resource-policy: keep
spec:
  accessModes: [ReadWriteOnce]
  {{- with $storage.class }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ $storage.size }}
{{- end }}
