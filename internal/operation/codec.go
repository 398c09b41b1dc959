package operation

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"
)

// encodingSealed is the encoding under which a sealed payload travels.
const encodingSealed = "binary/cagenut-aes-gcm"

// Encrypted gives converters that seal every payload, and the messages and stack traces of
// failures, with AES-256-GCM. The key has 32 bytes. Payloads that were written before a key was
// configured are still read; a payload under another key is an error.
//
// Workflow IDs, search attributes and the names of steps are not payloads and stay readable.
func Encrypted(key []byte) (converter.DataConverter, converter.FailureConverter, error) {
	if len(key) != 32 {
		return nil, nil, fmt.Errorf("payload key: %d bytes, want 32; make one with `openssl rand -base64 32`", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, fmt.Errorf("payload key: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, nil, fmt.Errorf("payload key: %w", err)
	}
	data := converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec{seal})
	failure := temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
		DataConverter: data, EncodeCommonAttributes: true,
	})
	return data, failure, nil
}

// codec seals payloads. It is safe for concurrent use.
type codec struct{ aead cipher.AEAD }

// Encode seals whole payloads, metadata included.
func (c codec) Encode(in []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(in))
	for i, p := range in {
		plain, err := proto.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("seal payload: %w", err)
		}
		out[i] = &commonpb.Payload{
			Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encodingSealed)},
			Data:     c.aead.Seal(nil, nil, plain, nil), //nolint:gosec // this AEAD makes a random nonce itself and takes none
		}
	}
	return out, nil
}

// Decode opens sealed payloads and leaves others as they are.
func (c codec) Decode(in []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(in))
	for i, p := range in {
		if string(p.Metadata[converter.MetadataEncoding]) != encodingSealed {
			out[i] = p
			continue
		}
		plain, err := c.aead.Open(nil, nil, p.Data, nil)
		if err != nil {
			return nil, fmt.Errorf("open payload: it was sealed with another key, or is damaged: %w", err)
		}
		out[i] = &commonpb.Payload{}
		if err := proto.Unmarshal(plain, out[i]); err != nil {
			return nil, fmt.Errorf("open payload: %w", err)
		}
	}
	return out, nil
}
