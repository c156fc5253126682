{{- define "headwater.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "headwater.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .stage }}
{{- end }}

{{- define "headwater.labels" -}}
{{ include "headwater.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "headwater.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- define "headwater.configMap" -}}
{{ .Values.existingConfigMap | default (include "headwater.name" .) }}
{{- end }}

{{- define "headwater.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "headwater.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* The stages that stay up, as a list of names. */}}
{{- define "headwater.stages" -}}
{{- if .Values.run.enabled }}run{{ else }}{{ range list "collect" "land" "serve" }}{{ if (index $.Values .).enabled }}{{ . }} {{ end }}{{ end }}{{ end }}
{{- end }}

{{/* The pipeline file: the values' and what only the chart knows. */}}
{{- define "headwater.pipeline" -}}
{{- $p := deepCopy .Values.pipeline }}
{{- $_ := set $p "data_dir" "/data" }}
{{- $_ := set $p "embedded" .Values.run.enabled }}
{{- $_ := set $p "listen" (set (deepCopy ($p.listen | default dict)) "http" "0.0.0.0:8080") }}
{{- if not (hasKey $p "access") }}
{{- $_ := set $p "access" dict }}{{/* nobody: the pod's address then has health, metrics and push sources */}}
{{- end }}
{{- if and (not .Values.run.enabled) (ne .Values.serialize.by "scheduler") }}
{{- $_ := set $p "serialize" (set (deepCopy ($p.serialize | default dict)) "schedule" "") }}
{{- end }}
{{- toYaml $p }}
{{- end }}

{{/* How the kubelet asks. */}}
{{- define "headwater.scheme" -}}
{{- if dig "listen" "tls" "" .Values.pipeline }}, scheme: HTTPS{{ end }}
{{- end }}

{{/* What every pod is: of root, stage, args, resources, volume (none if the stage's own controller makes it) and grace. */}}
{{- define "headwater.pod" -}}
serviceAccountName: {{ include "headwater.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}{{ end }}
securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .grace }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
containers:
  - name: headwater
    image: {{ include "headwater.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{- toYaml .args | nindent 6 }}
    securityContext: {{- toYaml .root.Values.containerSecurityContext | nindent 6 }}
    {{- with .root.Values.env }}
    env: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .root.Values.envFrom }}
    envFrom: {{- toYaml . | nindent 6 }}
    {{- end }}
    resources: {{- toYaml .resources | nindent 6 }}
    {{- if .grace }}
    ports:
      - {name: http, containerPort: 8080}
    startupProbe:
      httpGet: {path: /healthz, port: http{{ include "headwater.scheme" .root }}}
      periodSeconds: 5
      failureThreshold: 60
    livenessProbe:
      httpGet: {path: /healthz, port: http{{ include "headwater.scheme" .root }}}
      periodSeconds: 20
      timeoutSeconds: 10
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /readyz, port: http{{ include "headwater.scheme" .root }}}
      periodSeconds: 10
      timeoutSeconds: 10
    lifecycle:
      preStop: {sleep: {seconds: 5}} # until nobody is sent here any more; then SIGTERM drains
    {{- end }}
    volumeMounts:
      - {name: pipeline, mountPath: /etc/headwater, readOnly: true}
      - {name: data, mountPath: /data}
      {{- range .root.Values.secretFiles }}
      - {name: {{ printf "secret-%s" .as }}, mountPath: {{ printf "/run/secrets/%s" .as }}, readOnly: true}
      {{- end }}
      {{- with .root.Values.extraVolumeMounts }}{{ toYaml . | nindent 6 }}{{ end }}
volumes:
  - name: pipeline
    configMap: {name: {{ include "headwater.configMap" .root }}}
  {{- with .volume }}
  - name: data
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range .root.Values.secretFiles }}
  - name: {{ printf "secret-%s" .as }}
    secret: {secretName: {{ .secret }}}
  {{- end }}
  {{- with .root.Values.extraVolumes }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{- define "headwater.podMetadata" -}}
labels: {{- include "headwater.labels" . | nindent 2 }}
  {{- with .root.Values.podLabels }}{{ toYaml . | nindent 2 }}{{ end }}
annotations:
  {{- if and .root.Values.restartOnChange (not .root.Values.existingConfigMap) }}
  headwater/pipeline: {{ omit (include "headwater.pipeline" .root | fromYaml) "sources" | toYaml | sha256sum | trunc 16 | quote }}
  {{- end }}
  {{- with .root.Values.podAnnotations }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
